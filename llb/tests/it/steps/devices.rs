//! Devices of the host by name (row EXC-35).

use std::collections::BTreeMap;

use lamina_proto::pb;

use super::built;
use super::changed;
use super::refused;
use crate::harness::Outcome;
use crate::world;

const DEVICES: &str = r#"
cdiVersion: "0.6.0"
kind: vendor.com/free
devices:
  - name: zero
    containerEdits:
      env: ["DEVICE=zero"]
      deviceNodes: [{path: /dev/of-vendor, hostPath: /dev/zero}]
"#;

fn asking(script: &str, name: &str, optional: bool) -> pb::Definition {
    changed(script, |op| {
        op.cdi_devices = vec![pb::CdiDevice {
            name: name.to_owned(),
            optional,
        }];
    })
}

pub(crate) fn are_given_by_name() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let folder = world.dir.path().join("cdi");
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::write(folder.join("free.yaml"), DEVICES).expect("written");
        let kept = DEVICES.replace("vendor.com/free", "vendor.com/kept");
        std::fs::write(folder.join("kept.yaml"), kept).expect("written");
        let build = world.plain_build();
        for (name, script) in [
            (
                "vendor.com/free=zero",
                "test $DEVICE = zero; test -c /dev/of-vendor",
            ),
            ("vendor.com/free", "head -c 1 /dev/of-vendor >/dev/null"),
            ("vendor.com/free=*", "test $DEVICE = zero"),
        ] {
            built(&build, asking(script, name, false)).await;
        }
        let without = asking("test \"$DEVICE\" = ''", "vendor.com/free=one", true);
        built(&build, without).await;
        for (name, words) in [
            (
                "vendor.com/free=one",
                "required device \"vendor.com/free=one\" is not registered",
            ),
            (
                "vendor.com/kept=zero",
                "device vendor.com/kept=zero is requested by the build but not allowed",
            ),
        ] {
            let error = refused(&build, asking("true", name, false)).await;
            assert!(error.message.ends_with(words), "{error}");
            assert!(error.exit_code.is_none(), "nothing has run");
        }
    })
}
