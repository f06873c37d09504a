//! "Did you mean": every kind of name that can be mistyped (row DFL-06).

use crate::answers::build;
use crate::bridge::RecordingBridge;

/// One test for each place; the message ends as it says.
macro_rules! near_misses {
    ($($test:ident: $file:literal $(with $key:literal = $value:literal)? => $end:literal;)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                let options: &[(&str, &str)] = &[$(($key, $value))?];
                let built = build(RecordingBridge::of($file, options)).await;
                let message = built.err().expect("fails").message;
                assert!(message.ends_with($end), "{message}");
            }
        )*
    };
}

near_misses! {
    instruction: "FROM scratch\nENTRYPOIN x\n" => "unknown instruction: ENTRYPOIN (did you mean ENTRYPOINT?)";
    instruction_in_its_case: "from scratch\nwrkdir x\n" => "unknown instruction: wrkdir (did you mean workdir?)";
    instruction_of_a_trigger: "FROM scratch AS a\nONBUILD RNU x\nFROM a\n" => "unknown instruction: RNU (did you mean RUN?)";
    instruction_like_no_other: "FROM scratch\nNONSENSE x\n" => "unknown instruction: NONSENSE";
    flag_of_from: "FROM --platfrom=linux/amd64 scratch\n" => "unknown flag: --platfrom (did you mean platform?)";
    flag_of_copy: "FROM scratch\nCOPY --chwon=1 a b\n" => "unknown flag: --chwon (did you mean chown?)";
    flag_of_add: "FROM scratch\nADD --checksm=1 a b\n" => "unknown flag: --checksm (did you mean checksum?)";
    flag_of_run: "FROM scratch\nRUN --mont=type=cache x\n" => "unknown flag: --mont (did you mean mount?)";
    flag_of_healthcheck: "FROM scratch\nHEALTHCHECK --timout=1s CMD x\n" => "unknown flag: --timout (did you mean timeout?)";
    mount_option: "FROM scratch\nRUN --mount=type=cache,traget=/c x\n" => "unexpected key 'traget' in 'traget=/c' (did you mean target?)";
    mount_type: "FROM scratch\nRUN --mount=type=chache,target=/c x\n" => "unsupported mount type \"chache\" (did you mean cache?)";
    mount_sharing: "FROM scratch\nRUN --mount=type=cache,target=/c,sharing=loced x\n" => "unsupported sharing value \"loced\" (did you mean locked?)";
    device_option: "FROM scratch\nRUN --device=name=a,requird=true x\n" => "(did you mean required?)";
    target: "FROM scratch AS build\nFROM build AS test\n" with "target" = "tets" => "target stage \"tets\" could not be found (did you mean test?)";
    base: "FROM scratch AS builder\nFROM buidler\n" => "buidler: no such image (did you mean builder?)";
    base_from_the_web: "FROM alpin:latest\n" => "alpin:latest: no such image (did you mean alpine:latest?)";
    stage_to_copy_from: "FROM scratch AS builder\nFROM scratch\nCOPY --from=bulder a b\n" => "bulder: no such image (did you mean builder?)";
    stage_to_mount: "FROM scratch AS builder\nFROM scratch\nRUN --mount=from=buildr,target=/b x\n" => "buildr: no such image (did you mean builder?)";
    argument_in_a_platform: "ARG PLAT=linux/amd64\nFROM --platform=$PLTA scratch\n" => "empty platform value from expression $PLTA (did you mean PLAT?)";
}
