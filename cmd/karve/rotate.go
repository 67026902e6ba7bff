package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	grpcstatus "google.golang.org/grpc/status"

	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
)

func rotateKeyCommand() *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{
		Use:   "rotate-key",
		Short: "Encrypt all Secrets with a new key and forget the old one",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return rotateKey(cmd.Context(), *t) },
	}
	t.flags(cmd)
	return cmd
}

func rotateKey(ctx context.Context, t target) error {
	conn, err := t.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := systemv1.NewMaintenanceServiceClient(conn).RotateSecretsKey(ctx, &systemv1.RotateSecretsKeyRequest{})
	if err != nil {
		return fmt.Errorf("rotate the key of Secrets: %s", grpcstatus.Convert(err).Message())
	}
	fmt.Printf("all Secrets are encrypted with %s; older keys are gone from %s\n", answer.GetKey(), t.dir().EncryptionKeys())
	return nil
}
