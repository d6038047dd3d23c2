# What a shell offers: nohup, setsid, disown, a coprocess, a trap that starts again.
nohup sleep 1000 >/dev/null 2>&1 &
setsid sleep 1000 &
disown -a
coproc sleep 1000
( trap '' TERM HUP INT; while :; do sleep 1000; done ) &
trap 'setsid sleep 1000 &' EXIT
echo DONE
