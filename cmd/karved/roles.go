package main

import "github.com/spf13/cobra"

type role struct{}

func (r role) command() *cobra.Command { return nil }

var roles []role

func issueCommand() *cobra.Command { return &cobra.Command{Use: "issue"} }
