# While compiling: plant links and folders under the names that are used next.
const text = staticExec("rm -rf /box/a.out; ln -s @@bait_file@@ /box/a.out; ln -s @@bait_file@@ /tmp/result; mkdir /box/nimcache/x; ls -la /box; id")
echo text
echo "DONE"
