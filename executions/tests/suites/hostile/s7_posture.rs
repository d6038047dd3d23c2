fn main() {
    print!("{}DONE\n", std::fs::read_to_string("/proc/self/status").unwrap());
}
