use std::io;

fn main() {
    let mut name = String::new();
    io::stdin().read_line(&mut name).unwrap();
    println!("Grüße, {}!", name.trim());
    std::process::exit(3);
}
