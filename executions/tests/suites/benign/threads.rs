use std::collections::HashMap;
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
fn main() {
    let total = Arc::new(Mutex::new(0));
    let (sender, receiver) = mpsc::channel();
    let handles: Vec<_> = (0..16).map(|i| { let total = Arc::clone(&total); let sender = sender.clone();
        thread::spawn(move || { *total.lock().unwrap() += i; sender.send(i).unwrap(); }) }).collect();
    for handle in handles { handle.join().unwrap(); }
    drop(sender);
    let seen: Vec<i32> = receiver.iter().collect();
    let mut words: HashMap<&str, usize> = HashMap::new();
    *words.entry("a").or_insert(0) += seen.len();
    println!("{} {:?}", total.lock().unwrap(), words);
    std::fs::write("/tmp/file", vec![0u8; 1 << 20]).unwrap();
    println!("{}", std::fs::metadata("/tmp/file").unwrap().len());
}
