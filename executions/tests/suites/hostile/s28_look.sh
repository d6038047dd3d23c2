# Nothing of it may be there, or have run.
find / -xdev -name "*$1*" -not -path '/proc/*' 2>/dev/null | sed 's/^/ACHIEVED finding /'
for folder in /tmp /var/tmp /dev/shm "$HOME"; do
  find "$folder" -maxdepth 1 -type f -not -name 'main.sh' 2>/dev/null | sed 's/^/ACHIEVED finding /'
done
ls -A "$HOME/.cache" 2>/dev/null | sed 's/^/ACHIEVED finding /'
echo DONE
