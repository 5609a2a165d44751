package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vzcluster/vzcluster/pkg/store/raftlog"
	"github.com/vzcluster/vzcluster/pkg/store/snapfile"
)

// recovery is the command line of `vzmaster recover`.
type recovery struct{ dataDir, raftAddr string }

func recoverCommand() *cobra.Command {
	var r recovery
	c := &cobra.Command{
		Use:   "recover --data-dir DIR --raft-advertise HOST:PORT",
		Short: "Make a new cluster of the one master that is left, when the others are lost for ever",
		Long: "Makes a new cluster of what this one master knows. It is for the case that so many masters are lost for ever that the rest has no\n" +
			"quorum; if they can be brought back, bring them back instead. Stop this master first. Of those that are left take the one\n" +
			"whose log ends last: the command shows it and changes nothing before you have typed its confirmation.\n\n" +
			"What only the lost masters knew is lost, though it was acknowledged. Containers run on; nobody acts on one until the nodes have\n" +
			"reported where it really is. The old data directory is kept beside the new one. The other masters may never start on their old\n" +
			"data again; they join with empty directories.",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(c *cobra.Command, _ []string) error { return r.run(c.InOrStdin(), c.ErrOrStderr()) },
	}
	c.Flags().StringVar(&r.dataDir, "data-dir", "/var/lib/vzmaster", "data directory of this master")
	c.Flags().StringVar(&r.raftAddr, "raft-advertise", "", "address of its raft as other masters reach it, HOST:PORT")
	return c
}

func (r *recovery) run(in io.Reader, out io.Writer) error {
	if r.raftAddr == "" {
		return errors.New("--raft-advertise is needed: HOST:PORT of this master's raft, as other masters will reach it")
	}
	quiet := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelError}))
	old, err := raftlog.OpenOffline(r.dataDir, quiet)
	if err != nil {
		return err
	}
	data, err := snapfile.Reborn(old.Data, old.Term)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", r.dataDir, err), old.Close())
	}
	others := slices.DeleteFunc(slices.Clone(old.Voters), func(id string) bool { return id == old.ID })
	phrase := "recover " + old.ID
	counts := snapfile.Count(data)
	var have []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		have = append(have, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	fmt.Fprintf(out, "master %s, log up to entry %d of term %d, records: %s\nThe others with a vote were: %s.\n"+
		"LOST is everything that was acknowledged after entry %d, if any master whose log ends later is among the others.\n"+
		"The others must never start on their data again: wipe it, or they may found the old cluster beside the new one.\n"+
		"Type %q to go on: ", old.ID, old.LastIndex, old.LastTerm, strings.Join(have, ", "), orNobody(others), old.LastIndex, phrase)
	typed, _ := bufio.NewReader(in).ReadString('\n') // no line is no confirmation
	if strings.TrimSpace(typed) != phrase {
		fmt.Fprintln(out)
		return errors.Join(fmt.Errorf("not confirmed (got %q); nothing was changed", strings.TrimSpace(typed)), old.Close())
	}
	if err := old.Close(); err != nil {
		return err
	}
	return r.replace(old, func(dir string) error {
		return raftlog.Seed(dir, old.ID, r.raftAddr, old.Rev, data, quiet)
	}, out)
}

// replace puts the directory that make makes in the place of the old one, which stays beside it. At any moment one of the two is there
// under its name or a name that says what it is.
func (r *recovery) replace(old *raftlog.Offline, make func(dir string) error, out io.Writer) error {
	dir := filepath.Clean(r.dataDir)
	fresh, kept := dir+".recovered", dir+".before-recovery-"+time.Now().UTC().Format("20060102T150405")
	if err := os.RemoveAll(fresh); err != nil { // of a recovery that did not end
		return err
	}
	if err := make(fresh); err != nil {
		return err
	}
	if err := os.Rename(dir, kept); err != nil {
		return err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return fmt.Errorf("%w; the old data is in %s", err, kept)
	}
	fmt.Fprintf(out, "recovered: start master %s as ever, then the others with empty data directories; the old data is kept in %s\n", old.ID, kept)
	return nil
}

func orNobody(ids []string) string {
	if len(ids) == 0 {
		return "nobody"
	}
	return strings.Join(ids, ", ")
}
