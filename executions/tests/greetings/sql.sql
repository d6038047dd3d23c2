CREATE TABLE input (name TEXT);
.import /dev/stdin input
SELECT 'Grüße, ' || name || '!' FROM input;
.exit 3
