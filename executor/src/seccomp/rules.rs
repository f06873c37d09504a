//! System calls that are allowed for some arguments or on some architectures only.

use libseccomp::ScmpAction;
use libseccomp::ScmpArgCompare;
use libseccomp::ScmpCompareOp;
use libseccomp::ScmpFilterContext;
use libseccomp::ScmpSyscall;
use libseccomp::error::SeccompError;
use serde_json::Value;
use serde_json::json;

/// Every `CLONE_NEW*` flag: making namespaces needs CAP_SYS_ADMIN, which steps lack.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// The personalities that programs use: Linux, the 32-bit ones, and the question what it is.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x20000, 0x20008, 0xffff_ffff];

/// Socket families that stay closed: AF_ALG, which has had many holes, and AF_VSOCK, which reaches
/// the hypervisor. Below, between and above them all are open.
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;

/// One call that is allowed if an argument compares as said.
struct Conditional {
    name: &'static str,
    argument: u32,
    compare: ScmpCompareOp,
    value: u64,
}

fn conditional() -> Vec<Conditional> {
    let rule = |name, argument, compare, value| Conditional {
        name,
        argument,
        compare,
        value,
    };
    let flags_argument = if cfg!(target_arch = "s390x") { 1 } else { 0 };
    let mut rules = vec![
        rule("socket", 0, ScmpCompareOp::Less, AF_ALG),
        rule("socket", 0, ScmpCompareOp::Equal, AF_ALG + 1),
        rule("socket", 0, ScmpCompareOp::Greater, AF_VSOCK),
        rule(
            "clone",
            flags_argument,
            ScmpCompareOp::MaskedEqual(NAMESPACE_FLAGS),
            0,
        ),
    ];
    let same = |value: &u64| rule("personality", 0, ScmpCompareOp::Equal, *value);
    rules.extend(PERSONALITIES.iter().map(same));
    rules
}

/// Adds the rules of this module.
pub(super) fn add(context: &mut ScmpFilterContext) -> Result<(), SeccompError> {
    for rule in conditional() {
        if let Ok(call) = ScmpSyscall::from_name(rule.name) {
            let condition = ScmpArgCompare::new(rule.argument, rule.compare, rule.value);
            context.add_rule_conditional(ScmpAction::Allow, call, &[condition])?;
        }
    }
    // The flags of clone3 are in memory, which a filter cannot read; programs fall back to clone.
    if let Ok(call) = ScmpSyscall::from_name("clone3") {
        context.add_rule(ScmpAction::Errno(libc::ENOSYS), call)?;
    }
    for name in of_this_architecture() {
        if let Ok(call) = ScmpSyscall::from_name(name) {
            context.add_rule(ScmpAction::Allow, call)?;
        }
    }
    Ok(())
}

/// Writes the rules of this module as an OCI runtime reads them.
pub(super) fn oci() -> Vec<Value> {
    let mut rules: Vec<Value> = conditional().iter().map(oci_rule).collect();
    rules.push(json!({
        "names": ["clone3"],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": libc::ENOSYS,
    }));
    rules.push(json!({ "names": of_this_architecture(), "action": "SCMP_ACT_ALLOW" }));
    rules
}

fn oci_rule(rule: &Conditional) -> Value {
    let (op, value, value_two) = match rule.compare {
        ScmpCompareOp::Less => ("SCMP_CMP_LT", rule.value, 0),
        ScmpCompareOp::Greater => ("SCMP_CMP_GT", rule.value, 0),
        ScmpCompareOp::MaskedEqual(mask) => ("SCMP_CMP_MASKED_EQ", mask, rule.value),
        _ => ("SCMP_CMP_EQ", rule.value, 0),
    };
    json!({
        "names": [rule.name],
        "action": "SCMP_ACT_ALLOW",
        "args": [{ "index": rule.argument, "value": value, "valueTwo": value_two, "op": op }],
    })
}

fn of_this_architecture() -> &'static [&'static str] {
    if cfg!(target_arch = "x86_64") {
        &["arch_prctl", "modify_ldt"]
    } else if cfg!(target_arch = "aarch64") {
        &[
            "arm_fadvise64_64",
            "arm_sync_file_range",
            "breakpoint",
            "cacheflush",
            "set_tls",
            "sync_file_range2",
        ]
    } else if cfg!(target_arch = "s390x") {
        &[
            "s390_pci_mmio_read",
            "s390_pci_mmio_write",
            "s390_runtime_instr",
        ]
    } else if cfg!(target_arch = "riscv64") {
        &["riscv_flush_icache"]
    } else if cfg!(target_arch = "powerpc64") {
        &["swapcontext", "sync_file_range2"]
    } else {
        &[]
    }
}
