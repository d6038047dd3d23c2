use std::io::{self, BufRead};
fn main() {
    let lines: Vec<String> = io::stdin().lock().lines().map(|line| line.unwrap()).collect();
    let total: i64 = lines[0].split_whitespace().map(|n| n.parse::<i64>().unwrap()).sum();
    println!("{}\n{}→ok", total, lines[1]);
}
