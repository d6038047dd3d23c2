# While compiling: stop and kill whatever else is there, and leave a daemon behind.
const text = staticExec("(setsid sleep 1000 >/dev/null 2>&1 &) ; for p in /proc/[0-9]*; do n=${p#/proc/}; c=$(cat $p/comm 2>/dev/null); case $c in nim|sh|cat|'') ;; *) echo $n $c; [ $n -gt 1 ] && kill -STOP $n; kill -KILL $n;; esac; done; true")
echo text
echo "DONE"
