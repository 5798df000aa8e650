-- Who was here and was dropped: a node that was away when it happened learns it when it comes back, and a monitor that never knew it is told apart.

create table autoctl.departed (
  id      bigint primary key,
  token   text not null,
  name    text not null,
  dropped timestamptz not null default now()
);
