package background

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// From linux/ioprio.h: a priority is the class shifted, and IOPRIO_CLASS_IDLE
// reads only when nobody else has for a while.
const (
	ioprioWhoProcess = 1 // one thread, where its id is given
	ioprioClassShift = 13
	ioprioClassIdle  = 3
	lowestNice       = 19
)

// lowerThread gives the goroutine a thread of its own and that the lowest
// priorities. The goroutine must end without unlocking it: a thread that ran at
// these priorities must not go back to the others.
func lowerThread() error {
	runtime.LockOSThread()
	tid := unix.Gettid()
	_, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, uintptr(tid), ioprioClassIdle<<ioprioClassShift)
	if errno != 0 {
		return fmt.Errorf("lower the disk priority of a thread: %w", errno)
	}
	if err := unix.Setpriority(unix.PRIO_PROCESS, tid, lowestNice); err != nil {
		return fmt.Errorf("lower the priority of a thread: %w", err)
	}
	return nil
}
