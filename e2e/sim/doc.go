// Package sim runs whole clusters in one process: real masters and real agents, joined by loopback connections, over a log in memory
// whose leader the test chooses, and over container runtimes without containers. No root is needed. What it shows is that the two
// halves of every protocol fit together, and what happens when either dies at a bad moment.
package sim
