// Package migrate moves containers: the coordinator's pure plan, the two agents' runners, the journal, and the transfer between them.
package migrate
