//! Pages of mapped files that are gone: the file was shortened, or the disk failed.
//!
//! The system reports them with SIGBUS, which ends a process without a word. In a file that is being read, zeros stand for
//! such a page and all behind it from then on, and the file knows it. Of one whose weights are in use, the name is told,
//! and the process ends as before: nothing may be computed with zeros. Signals from elsewhere go where they went.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Files beyond these are mapped without a watch.
const SLOTS: usize = 4096;

static WATCHED: [Slot; SLOTS] = [const { Slot::free() }; SLOTS];

/// What the signal did before.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Bytes of a page.
static PAGE: AtomicUsize = AtomicUsize::new(0);

/// The code of a page that is not there, in POSIX's order, which Linux, macOS and the BSDs have.
const BUS_ADRERR: c_int = 2;
/// The codes of what an instruction does; others are sent.
const FAULTS: std::ops::RangeInclusive<c_int> = 1..=5;

/// What is known of a map, for a signal handler: without locks and without memory of its own.
struct Slot {
    taken: AtomicBool,
    /// The addresses; none while `end` is zero.
    start: AtomicUsize,
    end: AtomicUsize,
    lost: AtomicBool,
    /// The name of a file whose weights are in use, none of one that is being read.
    name: AtomicPtr<u8>,
    name_len: AtomicUsize,
}

impl Slot {
    const fn free() -> Self {
        Self {
            taken: AtomicBool::new(false),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            lost: AtomicBool::new(false),
            name: AtomicPtr::new(std::ptr::null_mut()),
            name_len: AtomicUsize::new(0),
        }
    }

    /// The end of the map, if the address is in it.
    fn end_around(&self, address: usize) -> Option<usize> {
        let end = self.end.load(Ordering::SeqCst);
        let start = self.start.load(Ordering::SeqCst);
        // Another map may have the slot meanwhile.
        let is_one_map = self.end.load(Ordering::SeqCst) == end;
        (is_one_map && start <= address && address < end).then_some(end)
    }
}

/// A map that is watched until this is dropped, which must be before the map is.
pub(super) struct Watch {
    slot: Option<&'static Slot>,
    /// What the slot points to.
    _name: Option<Arc<[u8]>>,
}

impl Watch {
    /// Of a file that is being read.
    pub fn reading(map: &[u8]) -> Self {
        Self::new(map, None)
    }

    /// Of a file whose weights are in use.
    pub fn in_use(map: &[u8], path: &Path) -> Self {
        Self::new(map, Some(path.as_os_str().as_bytes().into()))
    }

    fn new(map: &[u8], name: Option<Arc<[u8]>>) -> Self {
        let free = |slot: &&Slot| !slot.taken.swap(true, Ordering::AcqRel);
        let slot = match install() {
            Ok(()) => WATCHED.iter().find(free),
            Err(_) => None,
        };
        if let Some(slot) = slot {
            let start = map.as_ptr().addr();
            slot.lost.store(false, Ordering::Relaxed);
            let (pointer, len) = match &name {
                Some(name) => (name.as_ptr().cast_mut(), name.len()),
                None => (std::ptr::null_mut(), 0),
            };
            slot.name.store(pointer, Ordering::Relaxed);
            slot.name_len.store(len, Ordering::Relaxed);
            slot.start.store(start, Ordering::SeqCst);
            slot.end.store(start + map.len(), Ordering::SeqCst);
        }
        Self { slot, _name: name }
    }

    /// Whether zeros stand for a page.
    pub fn has_lost(&self) -> bool {
        self.slot
            .is_some_and(|slot| slot.lost.load(Ordering::Acquire))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            slot.end.store(0, Ordering::SeqCst);
            slot.taken.store(false, Ordering::Release);
        }
    }
}

/// Sets the handler up, once.
fn install() -> io::Result<()> {
    static INSTALLING: Mutex<bool> = Mutex::new(false);
    let mut is_installed = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if *is_installed {
        return Ok(());
    }
    // SAFETY: zeros are a valid `sigaction`; the calls get valid pointers, and the handler is one for SA_SIGINFO.
    unsafe {
        PAGE.store(
            libc::sysconf(libc::_SC_PAGESIZE) as usize,
            Ordering::Release,
        );
        let mut previous: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut previous) != 0 {
            return Err(io::Error::last_os_error());
        }
        let _ = PREVIOUS.set(previous);
        let mut new: libc::sigaction = std::mem::zeroed();
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_bus_error;
        new.sa_sigaction = handler as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut new.sa_mask);
        if libc::sigaction(libc::SIGBUS, &raw const new, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    *is_installed = true;
    Ok(())
}

/// Calls nothing but atomics and system calls.
extern "C" fn on_bus_error(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the system passes a valid `siginfo_t`; that of SIGBUS has an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    let around = |slot: &'static Slot| Some((slot, slot.end_around(address)?));
    let found = WATCHED.iter().find_map(around);
    if let Some((slot, end)) = found.filter(|_| code == BUS_ADRERR) {
        let name = slot.name.load(Ordering::Acquire);
        if name.is_null() {
            slot.lost.store(true, Ordering::Release);
            if zero_from(address, end) {
                return;
            }
        } else {
            say(b"error: ");
            // SAFETY: the name is dropped after the slot has been given back.
            say(unsafe { std::slice::from_raw_parts(name, slot.name_len.load(Ordering::Acquire)) });
            say(b": was shortened or cannot be read any more, and its weights are in use; start again\n");
        }
    }
    hand_on(signal, info, context);
}

/// Puts zeros from the page of an address to the last one of the map: a call for each page would take minutes, and the
/// system bears so many maps only.
fn zero_from(address: usize, end: usize) -> bool {
    let size = PAGE.load(Ordering::Acquire);
    let page = address - address % size;
    let len = end.next_multiple_of(size) - page;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the pages are the end of a map that this crate only reads and that nobody unmaps while it is read.
    let zeros = unsafe {
        let page = std::ptr::without_provenance_mut(page);
        libc::mmap(page, len, libc::PROT_READ, flags, -1, 0)
    };
    zeros != libc::MAP_FAILED
}

fn say(text: &[u8]) {
    // SAFETY: the bytes are valid; what is not written is not missed.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}

/// What would have happened without this handler.
fn hand_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(previous) = PREVIOUS.get() else {
        return;
    };
    // SAFETY: the previous handler gets what the system would pass to it, by the kind of handler it is said to be.
    unsafe {
        match previous.sa_sigaction {
            libc::SIG_IGN if !FAULTS.contains(&(*info).si_code) => {}
            // An instruction faults once more, and the system acts. What was sent is sent again.
            libc::SIG_DFL | libc::SIG_IGN => {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &raw const default, std::ptr::null_mut());
                if !FAULTS.contains(&(*info).si_code) {
                    libc::raise(signal);
                }
            }
            handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                    std::mem::transmute(handler);
                handler(signal, info, context);
            }
            handler => {
                let handler: extern "C" fn(c_int) = std::mem::transmute(handler);
                handler(signal);
            }
        }
    }
}
