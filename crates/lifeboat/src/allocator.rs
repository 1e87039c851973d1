//! How memory goes back to the system. See `docs/design/allocator.md`.

/// Blocks of this size and more are the system's again once they are freed. Smaller than any pack, and larger than what is
/// allocated often.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const RETURNED_BYTES_MIN: libc::c_int = 4 << 20;

/// Makes large blocks go back to the system as soon as they are freed. Call it once, before there are threads.
///
/// The C library of GNU gives back only blocks larger than the largest that was ever freed, up to 32 MiB: packs are below
/// that, so it keeps those that one thread made and another freed, and a run that moves packs grows with their number.
/// That of musl gives all large blocks back by itself.
pub fn give_large_blocks_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "a setting of the C library, which has no safe name")]
    // SAFETY: mallopt(3) takes two numbers and touches no memory of ours. It is not safe beside other threads that
    // allocate, and there are none yet.
    unsafe {
        // Where it fails, more memory is used; nothing else changes.
        libc::mallopt(libc::M_MMAP_THRESHOLD, RETURNED_BYTES_MIN);
    }
}
