# Traces of a shell: start files, history, caches, locks.
for folder in "$HOME" "$PWD" /tmp /var/tmp /dev/shm; do
  for name in .bashrc .bash_profile .profile .bash_logout .inputrc "left-$1"; do
    echo "echo ACHIEVED running $folder/$name" >"$folder/$name" 2>/dev/null
  done
done
mkdir -p "$HOME/.cache/go-build" "$HOME/.cargo/bin" "$HOME/go" "$HOME/.m2" 2>/dev/null
echo poison >"$HOME/.cache/go-build/left-$1" 2>/dev/null
( exec 9>"/tmp/lock-$1"; flock -x 9; setsid sleep 1000 & )
echo DONE
