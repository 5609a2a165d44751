package container

import "runtime"

// The main goroutine keeps the main thread to itself. libcontainer opens a container's mount sources on a thread that it moves into the
// container's mount namespace and throws away afterwards; Go can't throw the main thread away. If that one were taken, the agent would
// live on with its /proc/self in a container, and the container's mounts would stay until the agent ends.
func init() { runtime.LockOSThread() }
