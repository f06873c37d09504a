//! Layouts of control groups as machines have them, and where steps go in each (row EXC-09).

use super::tree::Hierarchy;
use super::tree::parse;
use super::*;

/// What /proc/self/mountinfo and /proc/self/cgroup say somewhere.
struct Layout {
    name: &'static str,
    mounts: &'static str,
    memberships: &'static str,
    /// Each tree with a controller that steps need: the directories that are tried, best first.
    expected: &'static [&'static str],
}

const LAYOUTS: [Layout; 8] = [
    Layout {
        name: "version 1, as root of a machine",
        mounts: "31 25 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755\n\
                 33 31 0:28 / /sys/fs/cgroup/systemd rw,relatime shared:11 - cgroup cgroup rw,xattr,name=systemd\n\
                 36 31 0:32 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:15 - cgroup cgroup rw,cpu,cpuacct\n\
                 38 31 0:34 / /sys/fs/cgroup/memory rw,relatime shared:17 - cgroup cgroup rw,memory\n\
                 39 31 0:35 / /sys/fs/cgroup/devices rw,relatime shared:18 - cgroup cgroup rw,devices\n\
                 40 31 0:36 / /sys/fs/cgroup/pids rw,relatime shared:19 - cgroup cgroup rw,pids\n",
        memberships: "9:memory:/user.slice\n8:devices:/user.slice\n6:cpu,cpuacct:/user.slice\n\
                      5:pids:/user.slice/user-0.slice/session-3.scope\n\
                      1:name=systemd:/user.slice/user-0.slice/session-3.scope\n",
        expected: &[
            "/sys/fs/cgroup/memory/lamina /sys/fs/cgroup/memory/user.slice/lamina",
            "/sys/fs/cgroup/devices/lamina /sys/fs/cgroup/devices/user.slice/lamina",
            "/sys/fs/cgroup/pids/lamina \
             /sys/fs/cgroup/pids/user.slice/user-0.slice/session-3.scope/lamina",
        ],
    },
    Layout {
        name: "version 1, in a container that sees its part of the trees",
        mounts: "70 60 0:34 /docker/0f3c /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n\
                 71 60 0:35 /docker/0f3c /sys/fs/cgroup/devices rw,nosuid - cgroup cgroup rw,devices\n",
        memberships: "9:memory:/docker/0f3c\n8:devices:/docker/0f3c\n",
        expected: &[
            "/sys/fs/cgroup/memory/lamina",
            "/sys/fs/cgroup/devices/lamina",
        ],
    },
    Layout {
        name: "version 2, as root of a machine",
        mounts: "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
        memberships: "0::/system.slice/lamina.service\n",
        expected: &["/sys/fs/cgroup/lamina /sys/fs/cgroup/system.slice/lamina.service/lamina"],
    },
    Layout {
        name: "version 2, an ordinary user with a delegated service",
        mounts: "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
        memberships: "0::/user.slice/user-1000.slice/user@1000.service/app.slice/lamina.service\n",
        expected: &[
            "/sys/fs/cgroup/lamina /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/\
             app.slice/lamina.service/lamina",
        ],
    },
    Layout {
        name: "version 2, a process that has moved aside",
        mounts: "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
        memberships: "0::/user.slice/lamina.service/lamina-init\n",
        expected: &["/sys/fs/cgroup/lamina /sys/fs/cgroup/user.slice/lamina.service/lamina"],
    },
    Layout {
        name: "version 2, in a container with a namespace of its own",
        mounts: "900 890 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw\n",
        memberships: "0::/\n",
        expected: &["/sys/fs/cgroup/lamina"],
    },
    Layout {
        name: "hybrid",
        mounts: "33 31 0:28 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n\
                 38 31 0:34 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                 39 31 0:35 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer\n",
        memberships: "9:memory:/\n4:freezer:/\n0::/init.scope\n",
        expected: &[
            "/sys/fs/cgroup/unified/lamina /sys/fs/cgroup/unified/init.scope/lamina",
            "/sys/fs/cgroup/memory/lamina",
        ],
    },
    Layout {
        name: "absent",
        mounts: "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n",
        memberships: "",
        expected: &[],
    },
];

fn tried(tree: &Hierarchy) -> String {
    let dirs = parent::candidates(tree, "", OURS);
    let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    dirs.join(" ")
}

#[test]
fn steps_go_where_groups_can_be_made() {
    for layout in &LAYOUTS {
        let trees = parse(layout.mounts, layout.memberships);
        let needed = trees.iter().filter(|tree| tree.is_needed(&NEEDED));
        let found: Vec<String> = needed.map(tried).collect();
        assert_eq!(found, layout.expected, "{}", layout.name);
    }
}

#[test]
fn limits_go_to_the_tree_with_their_controller() {
    let resources = Resources {
        memory_bytes: 64,
        cpu_shares: 512,
        cpus: "0".to_owned(),
        ..Resources::default()
    };
    let expected = [
        "cpu.shares memory.limit_in_bytes",
        "memory.limit_in_bytes",
        "memory.max cpu.weight cpuset.cpus",
        "memory.max cpu.weight cpuset.cpus",
        "memory.max cpu.weight cpuset.cpus",
        "memory.max cpu.weight cpuset.cpus",
        "cpu.weight cpuset.cpus memory.limit_in_bytes",
        "",
    ];
    for (layout, expected) in LAYOUTS.iter().zip(expected) {
        let trees = parse(layout.mounts, layout.memberships);
        let files = trees
            .iter()
            .flat_map(|tree| wanted(&resources, tree, &trees));
        let files: Vec<&str> = files.map(|setting| setting.file).collect();
        assert_eq!(files.join(" "), expected, "{}", layout.name);
    }
}

#[test]
fn a_machine_without_groups_has_steps_without_limits() {
    let resources = Resources {
        memory_bytes: 64,
        ..Resources::default()
    };
    let made = Cgroups::default().make(&Request {
        parent: "",
        id: "1-1",
        confined: true,
        everywhere: false,
        resources: &resources,
        devices: &[],
    });
    let made = made.expect("nothing is refused");
    assert_eq!(made.directories().count(), 0);
    assert_eq!(made.unmet, ["memory"]);
    assert!(!made.restricts_devices && !made.ran_out_of_memory());
}
