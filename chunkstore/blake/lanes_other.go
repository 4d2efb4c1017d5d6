//go:build !amd64

package blake

func compress16(l *lanes) { compressPortable(l, width) }

func compress8(l *lanes) { compressPortable(l, width/2) }

func hasLanes() bool { return false }
