#![recursion_limit = "1000000"]
macro_rules! bomb { ($($t:tt)*) => { bomb!($($t)* $($t)* x) }; }
fn main() { bomb!(x); }
