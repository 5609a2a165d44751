package master

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/scheduler"
	"github.com/vzcluster/vzcluster/pkg/store"
)

// refuse makes the error of a request whose preconditions are not met: nothing was changed.
func refuse(format string, args ...any) error {
	return status.Errorf(codes.FailedPrecondition, format, args...)
}

// notFound makes the error about an object that does not exist.
func notFound(format string, args ...any) error {
	return status.Errorf(codes.NotFound, format, args...)
}

// invalid makes the error about a request that could never be carried out.
func invalid(what, got, why, do string) error {
	return toStatus(&cluster.InvalidError{What: what, Got: got, Why: why, Do: do})
}

// toStatus gives every error the code that proto/cluster.proto documents.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	var inv *cluster.InvalidError
	var full *scheduler.RefusedError
	switch _, isStatus := status.FromError(err); {
	case errors.As(err, &inv):
		return status.Error(codes.InvalidArgument, inv.Error())
	case errors.As(err, &full):
		return refuse("%v", full)
	case isStatus:
		return err
	case errors.Is(err, store.ErrUnknown):
		return status.Error(codes.Unknown, "the outcome is not known: the masters lost their leader or quorum while it was being stored; ask again with the same operation key")
	case errors.Is(err, store.ErrNotLeader), errors.Is(err, store.ErrStopped):
		return noLeader("it was lost during the call")
	case errors.Is(err, store.ErrConflict):
		return status.Error(codes.Aborted, "too many changes of the same objects at the same time; nothing was changed, try again")
	case errors.Is(err, store.ErrTooLarge):
		return status.Error(codes.InvalidArgument, "the request is larger than the store takes; nothing was changed")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the masters did not agree in time: no quorum?; ask for the outcome with the operation key")
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "cancelled")
	}
	return status.Error(codes.Internal, err.Error())
}
