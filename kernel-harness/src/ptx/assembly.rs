//! What the assembly of a kernel does with global memory.

use std::fmt::{self, Display, Formatter};

/// Counts of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Loads from global memory.
    pub loads: usize,
    /// Those of 16 bytes.
    pub wide_loads: usize,
    /// Loads ahead of the first store: what a unit has under way at once.
    pub ahead: usize,
    /// Stores to global memory.
    pub stores: usize,
    /// Those of 16 bytes.
    pub wide_stores: usize,
    /// Divisions of floats and reciprocals, a subroutine each.
    pub divisions: usize,
}

impl Traffic {
    /// What [`Display`] writes, in words.
    pub const HEADER: &str = " loads  16 B ahead stores  16 B   div";

    /// That of a kernel.
    pub fn of(ptx: &str) -> Self {
        let count = |is: fn(&&str) -> bool| instructions(ptx).filter(is).count();
        Self {
            loads: count(is_load),
            wide_loads: count(|line| is_load(line) && is_wide(line)),
            ahead: instructions(ptx)
                .take_while(|line| !is_store(line))
                .filter(is_load)
                .count(),
            stores: count(is_store),
            wide_stores: count(|line| is_store(line) && is_wide(line)),
            divisions: count(|line| line.contains("div.rn.f32") || line.contains("rcp.rn.f32")),
        }
    }
}

impl Display for Traffic {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            loads,
            wide_loads,
            ahead,
            stores,
            wide_stores,
            divisions,
        } = self;
        write!(
            f,
            "{loads:>6} {wide_loads:>5} {ahead:>5} {stores:>6} {wide_stores:>5} {divisions:>5}"
        )
    }
}

/// The lines that are instructions.
pub(super) fn instructions(ptx: &str) -> impl Iterator<Item = &str> {
    ptx.lines()
        .filter(|line| line.starts_with('\t') && line.ends_with(';') && !line.starts_with("\t."))
}

/// Whether anything is in local memory: an array that did not become registers.
pub fn has_local_memory(ptx: &str) -> bool {
    ptx.contains(".local")
}

fn is_load(line: &&str) -> bool {
    line.contains("ld.global")
}

fn is_store(line: &&str) -> bool {
    line.contains("st.global")
}

fn is_wide(line: &&str) -> bool {
    [".v4.b32", ".v2.b64", ".b128"]
        .iter()
        .any(|width| line.contains(width))
}

#[cfg(test)]
#[test]
fn counts() {
    let ptx = "
.visible .entry name(
\t.reg .b32 %r<3>;
\tld.global.nc.v4.b32 {%r1, %r2, %r3, %r4}, [%rd1];
\tld.global.b32 \t%r5, [%rd2];
\t@%p1 st.global.v2.b32 \t[%rd3], {%r6, %r7};
$L__BB0_1:
\tdiv.rn.f32 \t%r8, %r5, %r6;
\trcp.rn.f32 \t%r9, %r8;
\tld.global.v2.b64 {%rd4, %rd5}, [%rd3];
\tst.global.v2.b64 \t[%rd6], {%rd4, %rd5};
";
    let traffic = Traffic {
        loads: 3,
        wide_loads: 2,
        ahead: 2,
        stores: 2,
        wide_stores: 1,
        divisions: 2,
    };
    assert_eq!(Traffic::of(ptx), traffic);
    assert_eq!(instructions(ptx).count(), 7);
    assert!(!has_local_memory(ptx));
    assert!(has_local_memory(
        "\t.local .align 4 .b8 \t__local_depot0[16];\n"
    ));
}
