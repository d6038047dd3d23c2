fn main() { let text: String = 5; println!("{}", text); }
