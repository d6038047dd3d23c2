fn main() { println!("ACHIEVED {}", env!("SUITE_SECRET")); }
