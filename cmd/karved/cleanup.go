package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"karve.dev/karve/internal/cluster"
)

func cleanupCommand() *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove the containers, networks and rules of a cluster that does not run",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := absolute(cluster.Dir(dataDir))
			if err != nil {
				return err
			}
			settings, known, err := dir.Load()
			if err != nil {
				return err
			}
			if !known {
				return fmt.Errorf("there is no cluster in %s", dir)
			}
			release, err := lock(dir)
			if err != nil {
				return err
			}
			defer release()
			if err := cluster.CheckClaim(settings.Name, dir); err != nil {
				return err
			}
			if err := cleanUp(cmd.Context(), dir, settings); err != nil {
				return err
			}
			return cluster.Release(settings.Name, dir)
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", string(cluster.DirOf(cluster.DefaultName)), "where the cluster keeps its data")
	return cmd
}
