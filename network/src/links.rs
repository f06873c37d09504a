//! Network devices, their addresses, and the default route.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

use netlink_packet_core::DefaultNla;
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_core::NLM_F_EXCL;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::InfoData;
use netlink_packet_route::link::InfoKind;
use netlink_packet_route::link::InfoVeth;
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::link::LinkFlags;
use netlink_packet_route::link::LinkInfo;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::link::LinkProtoInfoBridge;
use netlink_packet_route::route::RouteAddress;
use netlink_packet_route::route::RouteAttribute;
use netlink_packet_route::route::RouteHeader;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::route::RouteScope;
use netlink_packet_route::route::RouteType;

use crate::netlink::Netlink;

/// The interface by which a step reaches others.
pub(crate) const STEP_INTERFACE: &str = "eth0";

/// The loopback interface is always the first of its namespace.
const LOOPBACK: u32 = 1;

/// `IFLA_BRPORT_ISOLATED`: of all ports, only those that are not isolated can be reached.
const PORT_ISOLATED: u16 = 33;

/// Most bytes of a device's name, without the closing zero.
pub(crate) const MAX_NAME_BYTES: usize = 15;

/// Works on the network devices of one namespace.
pub(crate) struct Links(Netlink);

/// A device, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// What somebody wrote on it; empty if nobody did.
    pub(crate) alias: String,
    pub(crate) is_bridge: bool,
}

impl Links {
    /// Opens those of the namespace that this thread is in.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self(Netlink::route()?))
    }

    /// Makes a bridge that is down.
    ///
    /// # Errors
    /// `AlreadyExists` if a device has the name.
    pub(crate) fn add_bridge(&mut self, name: &str, mac: [u8; 6]) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
        ];
        self.create(RouteNetlinkMessage::NewLink(link))
    }

    /// Makes a wire between the device `name` here, which is up, and [`STEP_INTERFACE`] in `namespace`,
    /// which the kernel would not bring up before its other end is there. Given the number of a
    /// `bridge`, this end is a port of it.
    ///
    /// # Errors
    /// `AlreadyExists` if a device has the name.
    pub(crate) fn add_wire(
        &mut self,
        name: &str,
        bridge: Option<u32>,
        namespace: BorrowedFd<'_>,
        mac: [u8; 6],
    ) -> io::Result<()> {
        let mut inner = LinkMessage::default();
        inner.attributes = vec![
            LinkAttribute::IfName(STEP_INTERFACE.to_owned()),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::NetNsFd(namespace.as_raw_fd()),
        ];
        let mut outer = LinkMessage::default();
        set_up(&mut outer);
        outer.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        outer
            .attributes
            .extend(bridge.map(LinkAttribute::Controller));
        outer.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inner))),
        ]));
        self.create(RouteNetlinkMessage::NewLink(outer))
    }

    /// Makes a device a port of a bridge.
    pub(crate) fn add_port(&mut self, port: u32, bridge: u32) -> io::Result<()> {
        self.change(port, vec![LinkAttribute::Controller(bridge)])
    }

    /// Keeps a port of a bridge from all others that are kept so.
    pub(crate) fn isolate_port(&mut self, port: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.interface_family = AddressFamily::Bridge;
        link.header.index = port;
        let isolated = DefaultNla::new(PORT_ISOLATED, vec![1]);
        link.attributes = vec![LinkAttribute::ProtoInfoBridge(vec![
            LinkProtoInfoBridge::Other(isolated),
        ])];
        self.0.ask(RouteNetlinkMessage::SetLink(link), 0).map(drop)
    }

    /// Writes something on a device for people and programs to read.
    pub(crate) fn set_alias(&mut self, index: u32, alias: &str) -> io::Result<()> {
        self.change(index, vec![LinkAttribute::IfAlias(alias.to_owned())])
    }

    /// Brings a device up.
    pub(crate) fn bring_up(&mut self, index: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        set_up(&mut link);
        self.0.ask(RouteNetlinkMessage::SetLink(link), 0).map(drop)
    }

    /// Brings the loopback interface up.
    pub(crate) fn bring_loopback_up(&mut self) -> io::Result<()> {
        self.bring_up(LOOPBACK)
    }

    /// Removes a device; with one end of a wire goes the other.
    pub(crate) fn remove(&mut self, name: &str) -> io::Result<()> {
        let link = named(name);
        self.0.ask(RouteNetlinkMessage::DelLink(link), 0).map(drop)
    }

    /// Returns the device with this name, if there is one.
    pub(crate) fn find(&mut self, name: &str) -> io::Result<Option<Device>> {
        match self.0.ask(RouteNetlinkMessage::GetLink(named(name)), 0) {
            Ok(answers) => Ok(answers.into_iter().find_map(device)),
            // ENODEV.
            Err(error) if error.raw_os_error() == Some(NO_SUCH_DEVICE) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns all devices.
    pub(crate) fn all(&mut self) -> io::Result<Vec<Device>> {
        let link = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.0.ask(link, NLM_F_DUMP)?;
        Ok(answers.into_iter().filter_map(device).collect())
    }

    /// Gives a device an address, and with it the network around it. It can be used at once: nobody is
    /// asked whether it is free.
    ///
    /// # Errors
    /// `AlreadyExists` if it has the address.
    pub(crate) fn add_address(
        &mut self,
        device: u32,
        address: IpAddr,
        prefix: u8,
    ) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.flags = AddressHeaderFlags::Nodad;
        message.header.prefix_len = prefix;
        message.header.index = device;
        message.attributes = vec![
            AddressAttribute::Local(address),
            AddressAttribute::Address(address),
        ];
        self.create(RouteNetlinkMessage::NewAddress(message))
    }

    /// Sends everything without another way to `gateway`.
    pub(crate) fn add_default_route(&mut self, gateway: IpAddr) -> io::Result<()> {
        let mut route = RouteMessage::default();
        route.header = RouteHeader {
            address_family: family(gateway),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Boot,
            scope: RouteScope::Universe,
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        route.attributes = vec![RouteAttribute::Gateway(route_address(gateway))];
        self.create(RouteNetlinkMessage::NewRoute(route))
    }

    fn create(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.0.ask(message, NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    fn change(&mut self, index: u32, attributes: Vec<LinkAttribute>) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes = attributes;
        self.0.ask(RouteNetlinkMessage::SetLink(link), 0).map(drop)
    }
}

/// What the kernel says of a name that no device has.
const NO_SUCH_DEVICE: i32 = rustix::io::Errno::NODEV.raw_os_error();

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}

fn set_up(link: &mut LinkMessage) {
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
}

fn named(name: &str) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    link
}

fn device(answer: RouteNetlinkMessage) -> Option<Device> {
    let RouteNetlinkMessage::NewLink(link) = answer else {
        return None;
    };
    let mut device = Device {
        index: link.header.index,
        ..Device::default()
    };
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => device.name = name,
            LinkAttribute::IfAlias(alias) => device.alias = alias,
            LinkAttribute::LinkInfo(infos) => {
                device.is_bridge = infos.contains(&LinkInfo::Kind(InfoKind::Bridge));
            }
            _ => {}
        }
    }
    Some(device)
}
