program main
include '@@bait_file@@'
end program main
