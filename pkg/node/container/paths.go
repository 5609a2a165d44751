package container

import "path/filepath"

// Names of what belongs to one copy; see the package comment.

func (r *Runtime) privateDir() string            { return filepath.Join(r.cfg.DataDir, "private") }
func (r *Runtime) rootDir(ctid string) string    { return filepath.Join(r.privateDir(), ctid) }
func (r *Runtime) mountPoint(ctid string) string { return filepath.Join(r.cfg.DataDir, "root", ctid) }
func (r *Runtime) stagingBase() string           { return filepath.Join(r.privateDir(), ".staging") }
func (r *Runtime) retiredBase() string           { return filepath.Join(r.privateDir(), ".retired") }
func (r *Runtime) confDir() string               { return filepath.Join(r.cfg.DataDir, "conf") }
func (r *Runtime) confPath(ctid string) string   { return filepath.Join(r.confDir(), ctid+".json") }
func (r *Runtime) consoleLog(ctid string) string {
	return consoleLogIn(r.cfg.LogDir(), ctid)
}

// stageDir is the directory of one attempt to make a copy: stageRoot is its future root, stageRecord its record.
func (r *Runtime) stageDir(ctid, attempt string) string {
	return filepath.Join(r.stagingBase(), ctid+"."+attempt)
}

func stageRoot(stage string) string   { return filepath.Join(stage, "root") }
func stageRecord(stage string) string { return filepath.Join(stage, "record.json") }

func (r *Runtime) stateRoot() string            { return filepath.Join(r.cfg.RunDir, "runc") }
func (r *Runtime) deviceBase() string           { return filepath.Join(r.cfg.RunDir, "dev") }
func (r *Runtime) deviceDir(ctid string) string { return filepath.Join(r.deviceBase(), ctid) }
func (r *Runtime) imageBase() string            { return filepath.Join(r.cfg.RunDir, "images") }
func (r *Runtime) imageDir(attempt string) string {
	return filepath.Join(r.imageBase(), attempt)
}

func (r *Runtime) cgroupPath(ctid string) string { return "/" + r.cfg.CgroupParent + "/" + ctid }
