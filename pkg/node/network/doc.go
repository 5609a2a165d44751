// Package network makes a container's network device, fences it off while the container is moved, and announces it where it
// has gone to.
//
// The host's end of the device is a port of a bridge. A move goes so:
//
//	source: NewHolder; Redirect -> (freeze the tasks) -> ClosePort -> Loosen ... then one of
//	        back:    OpenPort -> PutBack -> Close       (frames go to the container)
//	        forward: Forget -> PutBack -> Close         (frames go out by the uplink, after the target's announcement)
//	target: Attach unplugged (while its tasks do not run) -> Plug (just before they do) -> Announce
//
// Frames for the container are redirected before it is frozen, so that its kernel acknowledges nothing that no process will see; its
// port is closed after it, so that what it had sent still leaves. A target's device is in no bridge until the verdict: nothing can
// come from there or get there, whatever the kernel does by itself when a link comes up.
package network
