//! The system calls that apps and build steps may make.
//!
//! The list is that of Docker's default profile (`profiles/seccomp/default.json` of Moby 20.10.24, Apache-2.0) for
//! containers without capabilities, with three changes: `io_uring_*` is left out, since its operations bypass seccomp
//! (Moby itself removed it in version 25); sockets of the family `AF_VSOCK`, which reach the hypervisor, are refused,
//! as in Moby since version 24; and system calls of newer kernels that later versions of the profile allow were added.

use serde_json::Value;

const PROFILE: &str = include_str!("seccomp.json");

/// The options for a container's `SecurityOpt`: no new privileges, and the profile.
pub fn security_options() -> Vec<String> {
    vec!["no-new-privileges:true".to_owned(), format!("seccomp={}", compact(PROFILE))]
}

/// Removes white space, since the engine stores the profile with each container.
fn compact(profile: &str) -> String {
    serde_json::from_str::<Value>(profile).expect("the profile is JSON").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_allows_no_io_uring() {
        let profile: Value = serde_json::from_str(PROFILE).expect("JSON");
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        let rules = profile["syscalls"].as_array().expect("rules");
        let names: Vec<&str> =
            rules.iter().flat_map(|rule| rule["names"].as_array().expect("names")).filter_map(Value::as_str).collect();
        assert!(names.contains(&"read") && names.contains(&"clone"));
        for refused in ["io_uring_setup", "mount", "unshare", "bpf", "keyctl", "chroot", "perf_event_open"] {
            assert!(!names.contains(&refused), "{refused}");
        }
    }
}
