// Package movetest tests the runtime's engines on two real hosts in one machine: each has its own network and mount namespaces, data
// directory and cgroup parent, and an agent process that can be killed. It needs root, CRIU, and the templates.
package movetest
