(use-modules (ice-9 rdelim))
(display (string-append "Grüße, " (read-line) "!"))
(newline)
(exit 3)
