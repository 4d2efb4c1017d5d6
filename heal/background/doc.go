// Package background runs the long jobs of a process that stays up with a store:
// scrubbing, and pruning by policy beside it.
//
// A job does its work in steps, on one operating system thread that all jobs
// share and that has the lowest priorities there are: idle for the disk
// (ioprio_set(2), IOPRIO_CLASS_IDLE) and nice 19 for the processor. Whatever a
// job reads it reads through its Turn, which waits while somebody works with the
// store, and for the pace. So no job ever makes anybody wait for more than the
// one read of at most some MiB that it has begun.
//
// A job that fails is told of, and tried again later, ever more rarely; it takes
// nothing else down. What a job must remember lies with the store: a process that
// is killed goes on in the next one.
package background
