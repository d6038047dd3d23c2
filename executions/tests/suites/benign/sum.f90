program main
  implicit none
  integer :: a, b
  character(len=20) :: word
  read (*, *) a, b
  read (*, '(A)') word
  write (*, '(I0)') a + b
  write (*, '(A)') trim(word) // "→ok"
end program main
