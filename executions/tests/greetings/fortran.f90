program greeting
  implicit none
  character(len=100) :: name
  read (*, '(a)') name
  print '(3a)', "Grüße, ", trim(name), "!"
  stop 3
end program greeting
