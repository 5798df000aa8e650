-- What Citus formations have beside their groups: more databases than the first one, addresses of connection poolers, and read replicas that Citus knows.

create table autoctl.formation_database (
  formation text not null references autoctl.formation on delete cascade,
  name      text not null check (name <> '' and octet_length(name) <= 63),
  created   timestamptz not null default now(),
  primary key (formation, name)
);

alter table autoctl.node
  add column proxy_port integer not null default 0 check (proxy_port between 0 and 65535),
  -- of a read replica, which never serves; empty for all other nodes
  add column cluster    text not null default '',
  -- the replica has been in step once: readers may be sent to it
  add column followed   boolean not null default false;

alter table autoctl.grp
  add column served_proxy integer not null default 0,
  -- the group has, or had, read replicas: what Citus knows of such is ours
  add column replicas     boolean not null default false;
