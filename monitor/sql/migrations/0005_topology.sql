-- Where each group is served, as the nodes of a Citus formation must know it. The version grows with each change of the primary or of its address and is
-- never below the group's sequence number, so that a monitor that continues from its keepers' memories continues it too.

alter table autoctl.grp
  add column served_by      bigint not null default 0,
  add column served_host    text not null default '',
  add column served_port    integer not null default 0,
  add column served_version bigint not null default 0;
