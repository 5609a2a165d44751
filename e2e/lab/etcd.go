package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Back ends of the masters.
const (
	StoreRaft = "raft"
	StoreEtcd = "etcd"
)

// RoleEtcd is the member of etcd on a master's host, in a lab with StoreEtcd.
const RoleEtcd = "etcd"

// Ports of etcd inside the lab.
const (
	EtcdClientPort = 2379
	etcdPeerPort   = 2380
)

// Files of etcd on a master's host.
const (
	etcdDir  = "/vz/etcd"
	etcdCert = etcdDir + "/cert.pem"
	etcdKey  = etcdDir + "/key.pem"
	etcdCA   = etcdDir + "/ca.pem"
)

// etcdDaemon is the member on a master's host.
func (c Config) etcdDaemon(h Host) Daemon {
	var members []string
	for i := 1; i <= c.Masters; i++ {
		members = append(members, fmt.Sprintf("m%d=https://%s", i, addr(masterIP(i), etcdPeerPort)))
	}
	return Daemon{Role: RoleEtcd, Argv: []string{
		filepath.Join(c.BinDir, "vzetcd"),
		"--name", h.Name,
		"--data-dir", etcdDir + "/data",
		"--client", "https://" + addr(h.IP, EtcdClientPort),
		"--peer", "https://" + addr(h.IP, etcdPeerPort),
		"--cluster", strings.Join(members, ","),
		"--cert", etcdCert, "--key", etcdKey, "--ca", etcdCA,
	}}
}

// EtcdArgs are the flags with which a program on any master's host reaches the etcd of a lab with that many masters.
func EtcdArgs(masters int) []string {
	var endpoints []string
	for i := 1; i <= masters; i++ {
		endpoints = append(endpoints, "https://"+addr(masterIP(i), EtcdClientPort))
	}
	return []string{"--etcd-endpoints", strings.Join(endpoints, ","), "--etcd-cert", etcdCert, "--etcd-key", etcdKey, "--etcd-ca", etcdCA}
}

// writeCertificates puts certificates on the masters' hosts, if the lab has an etcd.
func (l *Lab) writeCertificates(cfg Config) error {
	if cfg.Store != StoreEtcd {
		return nil
	}
	var ips []string
	for i := 1; i <= cfg.Masters; i++ {
		ips = append(ips, masterIP(i))
	}
	files, err := newCertificates(cfg.Name, ips)
	if err != nil {
		return fmt.Errorf("certificates for etcd: %w", err)
	}
	for i := 1; i <= cfg.Masters; i++ {
		for path, data := range map[string][]byte{etcdCert: files.cert, etcdKey: files.key, etcdCA: files.ca} {
			on := l.DiskPath(fmt.Sprintf("m%d", i), strings.TrimPrefix(path, "/vz"))
			if err := os.MkdirAll(filepath.Dir(on), 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(on, data, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}
