package master

import "github.com/vzcluster/vzcluster/pkg/store/memlog"

const memlogUnknownDone = memlog.UnknownDone
