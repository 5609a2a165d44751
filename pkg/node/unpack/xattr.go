package unpack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	paxXattr      = "SCHILY.xattr."
	xattrCaps     = "security.capability"
	xattrACL      = "system.posix_acl_"
	capRevision2  = 0x02000000
	capRevision3  = 0x03000000
	capRevMask    = 0xff000000
	capLen2       = 20
	capLen3       = 24
	aclUser       = 0x02
	aclGroup      = 0x08
	aclHeaderSize = 4
	aclEntrySize  = 8
)

// setXattrs sets the extended attributes that a container may have: user attributes, file capabilities and ACLs. Those of the host's own
// machinery (trusted.*, labels, integrity measurements) are passed over.
func setXattrs(at int, base string, pax map[string]string, idBase uint32) error {
	for key, val := range pax {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok {
			continue
		}
		v := []byte(val)
		switch {
		case strings.HasPrefix(name, "user."):
		case name == xattrCaps:
			if v = shiftCaps(v, idBase); v == nil {
				return errors.New("malformed file capabilities")
			}
		case strings.HasPrefix(name, xattrACL):
			if v = shiftACL(v, idBase); v == nil {
				return errors.New("malformed access control list")
			}
		default:
			continue
		}
		// By way of the directory's descriptor: the last place of the name is not followed.
		p := fmt.Sprintf("/proc/self/fd/%d/%s", at, base)
		if err := unix.Lsetxattr(p, name, v, 0); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// shiftCaps ties file capabilities to the container's root: those without an owner are in force only in the host's user namespace.
func shiftCaps(v []byte, idBase uint32) []byte {
	if len(v) < 4 || idBase == 0 {
		return v
	}
	magic := binary.LittleEndian.Uint32(v)
	out := make([]byte, capLen3)
	copy(out, v)
	switch {
	case magic&capRevMask == capRevision2 && len(v) == capLen2:
		binary.LittleEndian.PutUint32(out, magic&^capRevMask|capRevision3)
		binary.LittleEndian.PutUint32(out[capLen2:], idBase)
	case magic&capRevMask == capRevision3 && len(v) == capLen3:
		binary.LittleEndian.PutUint32(out[capLen2:], binary.LittleEndian.Uint32(v[capLen2:])+idBase)
	default:
		return nil
	}
	return out
}

// shiftACL shifts the ids of named users and groups.
func shiftACL(v []byte, idBase uint32) []byte {
	if len(v) < aclHeaderSize || (len(v)-aclHeaderSize)%aclEntrySize != 0 {
		return nil
	}
	out := append([]byte(nil), v...)
	for e := out[aclHeaderSize:]; len(e) > 0; e = e[aclEntrySize:] {
		if tag := binary.LittleEndian.Uint16(e); tag == aclUser || tag == aclGroup {
			binary.LittleEndian.PutUint32(e[4:], binary.LittleEndian.Uint32(e[4:])+idBase)
		}
	}
	return out
}
