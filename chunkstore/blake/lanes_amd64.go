package blake

import "golang.org/x/sys/cpu"

//go:generate go run gen.go

// compress16 does the pass of l.
//
//go:noescape
func compress16(l *lanes)

// compress8 does the pass of l's first eight lanes.
//
//go:noescape
func compress8(l *lanes)

// hasLanes says that the processor and the system have what the kernels use.
func hasLanes() bool {
	return cpu.X86.HasAVX512F && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ
}
