(format t "Grüße, ~a!~%" (read-line))
(sb-ext:exit :code 3)
