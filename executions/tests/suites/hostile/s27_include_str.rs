const STOLEN: &str = include_str!("@@bait_file@@");
const SHADOW: &[u8] = include_bytes!("/etc/shadow");
fn main() { println!("{} {}", STOLEN, SHADOW.len()); }
