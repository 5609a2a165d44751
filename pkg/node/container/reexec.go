package container

import (
	"os"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // the C part that enters namespaces before Go's threads start
)

// libcontainer starts the first process in a container as this program with the argument "init". Every program that contains this package
// serves that call before it does anything else, so that none can forget to.
func init() {
	if len(os.Args) > 1 && os.Args[1] == "init" && os.Getenv("_LIBCONTAINER_INITTYPE") != "" {
		libcontainer.Init() // does not return
	}
}
