package main

import "github.com/spf13/cobra"

// storeCommand is the group for the masters' state as a whole.
func (a *app) storeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "store", Short: "the cluster's state as a whole: save, restore and move it", Args: cobra.ArbitraryArgs, RunE: group}
	cmd.AddCommand(a.storeMigrateCommand(), a.storeSnapshotCommand())
	return cmd
}
